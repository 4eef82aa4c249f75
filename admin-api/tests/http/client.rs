//! A client that adds nothing of its own, and waits for no longer than it must.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Waits for `future`, but not for ever: `RESTANTE_TEST_DEADLINE_S` seconds, or 20.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let stretched = std::env::var("RESTANTE_TEST_DEADLINE_S").ok();
    let seconds = stretched.and_then(|text| text.parse().ok()).unwrap_or(20);
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {seconds} s"),
    }
}

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, as `name: value`, in the order they came.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Sends `GET /path` and such, and the headers in the lines that follow; gets the answer. What is behind an empty line is the
    /// body, sent as JSON unless the headers say otherwise.
    pub(crate) async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        if request.starts_with("HEAD ") {
            self.head().await
        } else {
            self.answer().await
        }
    }

    pub(crate) async fn send(&mut self, request: &str) {
        let (head, body) = match request.split_once("\n\n") {
            Some((head, body)) => (head, Some(body)),
            None => (request, None),
        };
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut text = format!("{line} HTTP/1.1\r\nhost: test\r\n");
        for header in headers.lines() {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if let Some(body) = body {
            if !headers.to_lowercase().contains("content-type:") {
                text.push_str("content-type: application/json\r\n");
            }
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body.unwrap_or_default());
        self.send_raw(&text).await;
    }

    pub(crate) async fn send_raw(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if matches!(answer.status, 204 | 304) {
            return answer;
        }
        let mut body = vec![0; answer.header("content-length").parse().unwrap()];
        let read = self.stream.read_exact(&mut body);
        within("the body", read).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// The status of the answer. None: the connection was reset instead.
    pub(crate) async fn try_ask(&mut self, request: &str) -> Option<u16> {
        let (line, header) = request.split_once('\n').unwrap_or((request, "x-none: 1"));
        let text = format!("{line} HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n");
        self.stream.write_all(text.as_bytes()).await.ok()?;
        let mut line = String::new();
        self.stream.read_line(&mut line).await.ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Sends `request` again and again without reading an answer.
    pub(crate) async fn send_until_refused(&mut self, request: &str) {
        let text = format!("{request} HTTP/1.1\r\nhost: test\r\n\r\n").repeat(100);
        while self.stream.write_all(text.as_bytes()).await.is_ok() {}
    }

    /// Says that nothing more will come.
    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends `drip` again and again, until there is something to read; how often.
    pub(crate) async fn drip_until_answered(&mut self, drip: &[u8]) -> usize {
        let mut n = 0;
        let stream = self.stream.get_mut();
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let dripping = async {
            let mut first = [0];
            loop {
                tokio::select! {
                    answered = stream.peek(&mut first) => {
                        answered.unwrap();
                        return;
                    }
                    _ = ticks.tick() => {}
                }
                stream.write_all(drip).await.unwrap();
                n += 1;
            }
        };
        within("an answer", dripping).await;
        n
    }

    async fn head(&mut self) -> Answer {
        let status = self.line().await;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.push(format!("{}: {value}", name.to_lowercase()));
        }
        Answer {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers,
            body: String::new(),
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        within("a line", self.stream.read_line(&mut line))
            .await
            .unwrap();
        assert!(
            line.ends_with("\r\n"),
            "the connection ended after {line:?}"
        );
        line.trim_end().to_owned()
    }

    /// Waits for the other side to close; what it still sent.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        match within("the end", self.stream.read_to_end(&mut rest)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        String::from_utf8(rest).unwrap()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut pairs = self.headers.iter().filter_map(|line| line.split_once(": "));
        match pairs.find(|(given, _)| *given == name) {
            Some((_, value)) => value,
            None => panic!("no {name} in {self:?}"),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let begin = format!("{name}: ");
        self.headers.iter().any(|line| line.starts_with(&begin))
    }

    /// The problem's code; empty where it is none.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
