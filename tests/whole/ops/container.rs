//! `ops/Dockerfile`: read as a builder reads it; and its program alone in an empty root, as in the image.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::process::Signal;

use super::read;
use crate::process::{Process, RESTANTE, command};
use crate::wait;

/// Who runs it in the image.
const USER: u32 = 65532;

/// A Dockerfile's instructions: name in capitals, and the rest with its lines joined.
struct Dockerfile(Vec<(String, String)>);

impl Dockerfile {
    fn parse(text: &str) -> Dockerfile {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut instructions = Vec::new();
        let mut whole = String::new();
        for line in lines {
            let goes_on = line.strip_suffix('\\');
            whole.push_str(goes_on.unwrap_or(line));
            if goes_on.is_none() {
                let (name, rest) = whole.split_once(' ').expect("an instruction");
                instructions.push((name.to_ascii_uppercase(), rest.trim().to_owned()));
                whole.clear();
            }
        }
        assert_eq!(whole, "", "the last line goes on");
        Dockerfile(instructions)
    }

    /// From the last `FROM` on: what becomes the image.
    fn image(&self) -> Dockerfile {
        let mut stages = self.0.rsplitn(2, |(name, _)| name == "FROM");
        let last = stages.next().expect("a stage");
        let from = self.all("FROM").last().map(|it| (*it).to_owned());
        let from = ("FROM".to_owned(), from.expect("a FROM"));
        Dockerfile(std::iter::once(from).chain(last.iter().cloned()).collect())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let of_that_name = self.0.iter().filter(|(it, _)| it == name);
        of_that_name.map(|(_, rest)| rest.as_str()).collect()
    }

    /// Of an instruction that must be there once.
    fn the(&self, name: &str) -> &str {
        let all = self.all(name);
        let [one] = all.as_slice() else {
            panic!("{name}: {all:?}");
        };
        one
    }
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json} needs a shell: {error}"))
}

#[test]
fn the_image_is_one_program_run_by_nobody_in_particular() {
    let file = Dockerfile::parse(&read("ops/Dockerfile"));
    let image = file.image();
    assert_eq!(image.the("FROM"), "scratch");
    assert_eq!(image.the("USER"), format!("{USER}:{USER}"));
    assert_eq!(image.the("STOPSIGNAL"), "SIGTERM");
    assert_eq!(words(image.the("VOLUME")), ["/data"]);
    assert_eq!(image.the("ENV"), "RESTANTE_DATA=/data");
    assert_eq!(image.the("EXPOSE"), "7300 7301");
    assert_eq!(words(image.the("ENTRYPOINT")), ["/restante"]);
    assert_eq!(words(image.the("CMD")), ["serve"]);
    assert!(
        image.all("RUN").is_empty(),
        "there is no shell to run it with"
    );
    for copy in image.all("COPY") {
        assert!(
            copy.contains("--from=build"),
            "{copy}: from the builder's machine"
        );
    }
    let (_, check) = image.the("HEALTHCHECK").split_once("CMD ").expect("a CMD");
    let check = words(check);
    assert_eq!(check[0], "/restante");
    let help = command(RESTANTE).args(&check[1..]).arg("--help").output();
    assert!(help.expect("the program").status.success(), "{check:?}");
}

#[test]
fn what_the_build_takes_is_named_exactly() {
    let file = Dockerfile::parse(&read("ops/Dockerfile"));
    let image = file.the_builder();
    let (name, version) = image.split_once(':').expect("a tag");
    assert_eq!(name, "rust");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.expect("a channel").trim_matches('"');
    let minor = channel.rsplit_once('.').expect("three numbers").0;
    assert_eq!(version, format!("{minor}-alpine"));
    assert!(
        file.all("ADD").is_empty(),
        "ADD fetches and unpacks: use COPY"
    );
    for (name, rest) in &file.0 {
        assert!(!rest.contains("://"), "{name} {rest}: it fetches something");
    }
    let labels = file.image().the("LABEL").to_owned();
    let version = format!(
        "org.opencontainers.image.version=\"{}\"",
        env!("CARGO_PKG_VERSION")
    );
    assert!(labels.contains(&version), "{labels}");
    let build = file.all("RUN").join("\n");
    assert!(build.contains("cargo build --release --locked"), "{build}");
}

impl Dockerfile {
    /// The first stage's image.
    fn the_builder(&self) -> String {
        let first = self.all("FROM").into_iter().next().expect("a FROM");
        first.split(' ').next().expect("an image").to_owned()
    }
}

#[test]
fn instructions_are_read_with_their_further_lines() {
    let file = Dockerfile::parse("# no\nfrom a:1 AS b\nRUN x \\\n    # in between\n    && y\n");
    assert_eq!(file.the("FROM"), "a:1 AS b");
    assert_eq!(file.the("RUN"), "x && y");
}

/// `RESTANTE_TEST_STATIC` names the program as the image has it, for musl.
#[test]
#[ignore = "needs a static build and root: tests/run container"]
fn the_static_program_runs_alone_in_an_empty_root() {
    let program = std::env::var("RESTANTE_TEST_STATIC").expect("RESTANTE_TEST_STATIC is set");
    let folder = tempfile::tempdir().expect("a folder");
    let (image, data) = (
        folder.path().join("image"),
        folder.path().join("image/data"),
    );
    fs::create_dir_all(&data).expect("a folder");
    fs::copy(program, image.join("restante")).expect("the program");
    chown(&data, Some(USER), Some(USER)).expect("root may");
    fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).expect("root may");
    let mut broker = in_image(&image, &["serve"]);
    let admin = wait::until("it says where it listens", || {
        assert_eq!(broker.ended(), None, "{}", broker.stderr());
        let said = broker.stdout();
        let rest = said.split("http://").nth(1)?;
        rest.split_once('/').map(|(address, _)| address.to_owned())
    });
    let url = format!("http://{admin}");
    let healthy = || in_image(&image, &["health", "--admin-url", &url]).wait();
    wait::until("it is ready", || {
        (healthy().code() == Some(0)).then_some(())
    });
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.stderr());
    assert_eq!(healthy().code(), Some(3), "nothing listens any more");
    let left: Vec<_> = fs::read_dir(&image).expect("a folder").collect();
    assert_eq!(left.len(), 2, "it wrote beside /data");
}

/// `/restante ARGS` with nothing else there, not even `/proc`.
fn in_image(image: &Path, args: &[&str]) -> Process {
    let mut command = command("chroot");
    command
        .arg(format!("--userspec={USER}:{USER}"))
        .arg(image)
        .arg("/restante")
        .args(args)
        .env("RESTANTE_DATA", "/data")
        .env("RESTANTE_LISTEN", "127.0.0.1:0")
        .env("RESTANTE_ADMIN_LISTEN", "127.0.0.1:0");
    Process::start(&mut command)
}
