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
            let help = help(&used.name);
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
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("target/release")).unwrap();
    symlink(PROGRAM, folder.path().join("target/release/restante")).unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
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

/// A command as a document has it.
struct Used {
    name: String,
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
    let name = words.next_if(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))?;
    Some(Used {
        name: name.to_owned(),
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

fn help(command: &str) -> String {
    if command == "help" {
        return String::new();
    }
    text(&run(&[command, "--help"])).replace(',', " ")
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
