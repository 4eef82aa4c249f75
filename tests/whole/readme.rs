//! README.md and CONTRIBUTING.md, held against the program: commands, flags, variables, links, and the section that a
//! newcomer will try first, run as it stands.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_restante");
const DOCUMENTS: [&str; 2] = ["README.md", "CONTRIBUTING.md"];

#[test]
fn every_command_and_flag_in_the_readme_is_known() {
    let known = commands_in_help();
    let mut n_commands = 0;
    for document in DOCUMENTS {
        for used in commands_in(&read(document), &known) {
            n_commands += 1;
            assert!(
                known.contains(&used.name),
                "{document}: `{}` is no command",
                used.name
            );
            let help = help(&used.name, used.act.as_deref());
            for flag in &used.flags {
                let there = help.split_whitespace().any(|word| word == flag);
                assert!(there, "{document}: `{}` has no {flag}", used.name);
            }
        }
    }
    assert!(n_commands > 10, "commands were found: {n_commands}");
}

#[test]
fn every_variable_in_the_readme_is_a_setting() {
    let example = read("ops/restante.example.yaml");
    let unit = read("ops/restante.service");
    for text in [read("README.md"), unit] {
        for variable in text.split("RESTANTE_").skip(1) {
            let end = variable.find('=').unwrap_or(0);
            let Some(name) = variable.get(..end).filter(|name| is_variable(name)) else {
                continue;
            };
            assert!(
                example.contains(&format!("RESTANTE_{name})")),
                "RESTANTE_{name} is no setting"
            );
        }
    }
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
        "storage/FORMAT.md",
    ] {
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        for link in read(document)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let there = link.is_empty()
                || link.starts_with("https://")
                || root().join(folder).join(link).exists();
            assert!(there, "{document}: {link} is not there");
        }
    }
}

#[test]
fn kill_it_and_see_the_messages_again_works_as_it_is_written() {
    let readme = read("README.md");
    let script = readme
        .split("```bash\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let script = script.expect("README.md has its one bash block");
    let folder = folder_with_the_program();
    let listen = free_address();
    let output = Command::new("bash")
        // The broker must not outlive a script that fails.
        .args(["-c", &format!("trap 'kill -9 $BROKER' EXIT\n{script}\nwait $BROKER\necho \"exit $?\"")])
        .current_dir(folder.path())
        .env("RESTANTE_LISTEN", &listen)
        .env("RESTANTE_URL", format!("ws://{listen}/mbws"))
        .env("RESTANTE_ADMIN_LISTEN", "127.0.0.1:0")
        .output()
        .expect("bash is there");
    let said = format!(
        "{}\nbroker.log:\n{}",
        text(&output),
        fs::read_to_string(folder.path().join("broker.log")).unwrap_or_default()
    );
    assert!(
        said.contains("every line, once, in order\nexit 0\n"),
        "{said}"
    );
    assert!(
        said.contains("sent 100000, confirmed 100000, failed 0"),
        "{said}"
    );
}

#[test]
fn administering_it_works_as_it_is_written() {
    let readme = read("README.md");
    let section = readme.split("## Administering it\n").nth(1);
    let section = section.and_then(|rest| rest.split("\n## ").next());
    let section = section.expect("README.md has the section");
    let blocks = section.split("```bash\n").skip(1);
    let mut script: String = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let mut ports = Vec::new();
    for written in ["7301", "7400", "7401"] {
        let port = free_port().to_string();
        script = script.replace(&format!(":{written}"), &format!(":{port}"));
        ports.push(port);
    }
    let folder = folder_with_the_program();
    let (listen, admin) = (free_address(), format!("127.0.0.1:{}", ports[0]));
    let output = Command::new("bash")
        .args(["-c", &format!("set -eu -o pipefail\ntrap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n{script}\nwait $BROKER\necho \"ended $?\"")])
        .current_dir(folder.path())
        .env("RESTANTE_LISTEN", &listen)
        .env("RESTANTE_URL", format!("ws://{listen}/mbws"))
        .env("RESTANTE_ADMIN_LISTEN", &admin)
        .env("RESTANTE_ADMIN_URL", format!("http://{admin}"))
        .output()
        .expect("bash is there");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text(&output);
    let taken = fs::read_to_string(folder.path().join("taken.txt")).unwrap_or_default();
    assert_eq!(taken, "one teapot\n", "{said}");
    in_order(
        &stdout,
        &[
            "alice may send orders/eu/new (the rule sellers-send); the message would go to queue work/eu\n",
            "exit 4\n", // no rule lets her send there
            "one teapot\n",
            "exit 4\n", // the consumer whose rule has gone
            "exit 4\n", // the token of before the rotation
            "token:cli has paused it, since ",
            ": the warehouse is being counted\n",
            "nobody consumes it\n",
            "two cups\n", // expired
            "three saucers\n",
            "two cups\nthree saucers\n", // consumed
            "+ realm shop\n",
            "checksum sha256:",
            "GET /api/v1/definitions",
            "shop/work/eu",
            "audit log: ",
            "restante_queue_messages{realm=\"shop\",queue=\"work/eu\",state=\"ready\"} 0\n",
            "\"code\":\"forbidden\"",
            "definitions-checksum",
            "ended 0\n",
        ],
        &said,
    );
    let checksums: BTreeSet<&str> = (stdout.lines())
        .filter(|line| line.starts_with("sha256:"))
        .collect();
    assert_eq!(checksums.len(), 1, "two brokers, one checksum: {said}");
    assert!(said.contains("message 1 was refused: denied"), "{said}");
}

/// All of `parts` are in `text`, one behind the other.
#[track_caller]
fn in_order(text: &str, parts: &[&str], said: &str) {
    let mut rest = text;
    for part in parts {
        let found = rest.split_once(part);
        let Some((_, behind)) = found else {
            panic!("`{part}` is missing behind what was found before it:\n{said}");
        };
        rest = behind;
    }
}

/// Where the README's commands find the program.
fn folder_with_the_program() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("target/release")).expect("a folder");
    symlink(PROGRAM, folder.path().join("target/release/restante")).expect("a link");
    folder
}

/// A command as a document has it.
struct Used {
    name: String,
    /// The word behind it, which may be a command of the command.
    act: Option<String>,
    flags: Vec<String>,
}

/// What stands behind the program's name in blocks, and behind a command's name in the text's code spans.
fn commands_in(document: &str, known: &BTreeSet<String>) -> Vec<Used> {
    let mut used = Vec::new();
    for (index, part) in document.split("```").enumerate() {
        if index % 2 == 1 {
            used.extend(part.lines().filter_map(in_line));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            let about_commands = spans.filter(|span| {
                let first = span.split(' ').next().unwrap_or("");
                span.starts_with("restante ") || (span.contains(" --") && known.contains(first))
            });
            used.extend(
                about_commands
                    .filter_map(|span| in_line(span).or_else(|| command(span.split_whitespace()))),
            );
        }
    }
    used
}

/// The command in a line of a shell; none: the program is not called, or without a command.
fn in_line(line: &str) -> Option<Used> {
    let line = line.split(" #").next()?;
    let mut words = line.split_whitespace();
    let called =
        words.any(|word| word == "restante" || word.ends_with("/restante") || word == "--");
    called.then(|| command(words)).flatten()
}

fn command<'a>(words: impl Iterator<Item = &'a str>) -> Option<Used> {
    let mut words = words
        .take_while(|word| !matches!(*word, ">" | ">>" | "|" | "<" | "&"))
        .peekable();
    let is_name = |word: &&str| {
        !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let name = words.next_if(is_name)?;
    Some(Used {
        name: name.to_owned(),
        act: words.next_if(is_name).map(str::to_owned),
        flags: words
            .filter(|word| word.starts_with("--"))
            .map(str::to_owned)
            .collect(),
    })
}

fn commands_in_help() -> BTreeSet<String> {
    let help = text(&run(&["--help"]));
    let list = help
        .split("Commands:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next());
    let lines = list.expect("help lists the commands").lines();
    lines
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// What `--help` says of a command, or of its own command `act` if it has one of that name.
fn help(command: &str, act: Option<&str>) -> String {
    if command == "help" {
        return String::new();
    }
    let all = text(&run(&[command, "--help"])).replace(',', " ");
    let act = act.filter(|act| all.contains(&format!("\n  {act} ")));
    act.map_or(all, |act| {
        text(&run(&[command, act, "--help"])).replace(',', " ")
    })
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stderr.as_slice(), &output.stdout].concat()).into_owned()
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// One that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has one").port()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
