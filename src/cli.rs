//! The command line: arguments, and one module for each command.
//!
//! What a command prints for programs goes to stdout, what it says to people goes to stderr. Settings come, in this
//! order, from flags, the environment, defaults. Secrets come from files only. Exit codes are [`Exit`].
//!
//! Not here: `serve` (`crate::serve`): `main` calls it.

mod access;
mod admin;
mod ask;
pub mod bench;
mod consume;
mod health;
mod http;
mod message_json;
mod notice;
mod rest;
mod send;
mod show;
mod state_file;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};
use restante_proto::mbws::Code;

use crate::client::{Broken, ClientError};
use crate::tls::Untrusted;

const EXAMPLES: &str = "\
Examples:
  restante                                    start the broker, data in ./restante-data
  restante send orders/eu < lines.txt         one message for each line
  restante consume orders/eu                  print what waits, then end
  restante consume orders/eu --follow --json  print what comes, for ever
  restante queue ls                           what waits where
  restante why orders/eu                      what keeps a queue from moving
  restante user add alice --role shop         somebody who may log in
  restante rule add shop --role shop --allow send,consume 'orders/#'
  restante definitions export                 all that is set, as YAML
  restante check-config restante.yaml         find every fault of a configuration";

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the broker cannot be reached or
trusted; 4 the broker does not let you; 5 a log is damaged, or the audit log was changed.";

/// A durable message broker: what is confirmed is on disk.
#[derive(Debug, Parser)]
#[command(name = "restante", version, about, before_help = EXAMPLES, after_help = EXIT_CODES)]
#[command(max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// What to do; nothing: `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where the broker listens for clients [default: ws://127.0.0.1:7300/mbws]
    #[arg(long, global = true, env = "RESTANTE_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Where the broker's admin API listens [default: http://127.0.0.1:7301]
    #[arg(long, global = true, env = "RESTANTE_ADMIN_URL", value_name = "URL")]
    pub admin_url: Option<String>,
    /// The realm to work in [default: the broker's `default`]
    #[arg(long, global = true, value_name = "NAME")]
    pub realm: Option<String>,
    /// The broker's data folder; clients look for `cli.key` in it
    #[arg(long, global = true, env = "RESTANTE_DATA", value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// A file with a bearer token [default: `cli.key` in the data folder, where there is one]
    #[arg(long, global = true, env = "RESTANTE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Connect as this user
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        requires = "password_file",
        conflicts_with = "key_file"
    )]
    pub user: Option<String>,
    /// The file with the user's password
    #[arg(long, global = true, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// With wss:// and https://: trust the authorities in this PEM file, and no others [default: the system's]
    #[arg(long, global = true, env = "RESTANTE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// With wss:// and https://: the client certificate to show, in PEM
    #[arg(
        long,
        global = true,
        env = "RESTANTE_CERTIFICATE",
        value_name = "FILE",
        requires = "key"
    )]
    pub certificate: Option<PathBuf>,
    /// The private key of the client certificate, in PEM
    #[arg(
        long,
        global = true,
        env = "RESTANTE_KEY",
        value_name = "FILE",
        requires = "certificate"
    )]
    pub key: Option<PathBuf>,
    /// Read or write JSON instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the broker
    Serve(Serve),
    /// Send each line of a file or of stdin as a message
    Send(send::Send),
    /// Print messages, settling each once it is written
    Consume(consume::Consume),
    /// Say what the broker is and how it does
    #[command(before_help = "Example:\n  restante overview")]
    Overview,
    /// Say who you are to the broker, and what you may do with it
    #[command(before_help = "Example:\n  restante whoami --key-file backend.key")]
    Whoami,
    /// Realms: name spaces with their own addresses, queues, routes and sessions
    #[command(subcommand)]
    Realm(admin::realm::Realm),
    /// Users, who log in with a password or a certificate
    #[command(subcommand)]
    User(admin::user::User),
    /// API tokens
    #[command(subcommand)]
    Token(admin::token::Token),
    /// Roles: what users, tokens and rules name
    #[command(subcommand)]
    Role(admin::role::Role),
    /// Rules: which role may do what with which addresses
    #[command(subcommand)]
    Rule(admin::rule::Rule),
    /// Routes: what is sent to one address goes to others
    #[command(subcommand)]
    Route(admin::route::Route),
    /// Queues, and what is in them
    #[command(subcommand)]
    Queue(admin::queue::Queue),
    /// List the queues: as `queue ls`
    #[command(before_help = "Examples:\n  restante queues\n  restante queues --json | jq .name")]
    Queues(admin::queue::List),
    /// Say what keeps a queue from moving: as `queue why`
    #[command(before_help = "Example:\n  restante why orders/eu")]
    Why(admin::Named),
    /// What is bound to which queue
    #[command(subcommand)]
    Binding(admin::clients::Binding),
    /// Addresses that somebody takes from
    #[command(subcommand)]
    Address(admin::clients::Address),
    /// Consumers of queues and topics
    #[command(subcommand)]
    Consumer(admin::clients::Consumer),
    /// Sessions, which may outlive their connections
    #[command(subcommand)]
    Session(admin::clients::Session),
    /// Connections of clients
    #[command(subcommand)]
    Connection(admin::clients::Connection),
    /// Procedures that WAMP clients have registered
    #[command(subcommand)]
    Registration(admin::wamp::Registration),
    /// Topics that WAMP clients have subscribed to
    #[command(subcommand)]
    Subscription(admin::wamp::Subscription),
    /// Calls of WAMP clients that are not answered
    #[command(subcommand)]
    Call(admin::wamp::Call),
    /// Ask whether somebody may use an address, and where a message to it would land; nothing is stored
    Explain(admin::broker::Explain),
    /// All that is set, as a file: export, plan, apply
    #[command(subcommand)]
    Definitions(admin::definitions::Definitions),
    /// Say what the broker logs, or change it until the next start
    LogLevel(admin::broker::LogLevel),
    /// Print the configuration that the broker runs with, and where each value is from
    #[command(before_help = "Example:\n  restante config")]
    Config,
    /// Print the audit log, newest first, or check whether anybody has changed it
    Audit(admin::broker::Audit),
    /// Print what a shell needs to complete this program's arguments
    Completion(Completion),
    /// Ask whether the broker is ready; the exit code is the answer
    Health(health::Health),
    /// Find every fault of a configuration, or print what is in force
    CheckConfig(CheckConfig),
    /// Read a whole log and say what is in it, or where it is damaged; of a running broker, its end may look torn, which does not count
    Verify,
    /// Measure a broker, beside what its disk can do
    Bench(bench::Bench),
    /// Print the version
    Version,
}

/// `serve`.
#[derive(Debug, Default, Args)]
pub struct Serve {
    /// The configuration file [default: none, every setting has a default]
    #[arg(long, short, env = "RESTANTE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Serve {
    /// What holds where no command is named: clap reads a command's variables only with the command.
    pub fn from_environment() -> Self {
        Serve {
            config: std::env::var_os("RESTANTE_CONFIG").map(PathBuf::from),
        }
    }
}

/// `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration file; none: the environment and the defaults
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the defaults, with every setting explained, as a file to begin with
    #[arg(long, conflicts_with = "file")]
    pub example: bool,
}

/// `completion`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  restante completion bash > /etc/bash_completion.d/restante\n  restante completion fish > ~/.config/fish/completions/restante.fish"
)]
pub struct Completion {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed, and stderr says why.
    Failed = 1,
    /// The arguments make no sense together (clap says the same of arguments alone).
    Usage = 2,
    /// The broker cannot be reached, or its certificate does not pass.
    Unreachable = 3,
    /// The broker takes no such credentials, or their rules do not allow it.
    Denied = 4,
    /// A log is damaged where it was once written for certain.
    Damaged = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Arguments that make no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs a command other than `serve` and `check-config`, and says on stderr what went wrong.
pub fn run(command: Command, global: &Global) -> Exit {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let denied = match &command {
        Command::Consume(consume) => Some(consume.denied(global)),
        _ => None,
    };
    let outcome = match threads {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(command, global));
            // A thread may still be waiting for a line of stdin that nobody writes.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("restante: {error:#}");
        if is_unauthorized(&error) {
            eprintln!("{}", access::refused(global));
        }
        let exit = exit_of(&error);
        if let Some(denied) = denied.filter(|_| exit == Exit::Denied && !is_unauthorized(&error)) {
            eprintln!("{denied}");
        }
        if wants_certificate(&error) {
            eprintln!("the broker lets in only who shows a certificate: name one with --certificate and --key");
        } else if speaks_no_tls(&error) {
            eprintln!(
                "this port does not speak TLS; try http:// or ws://, or set tls.certificate on the broker"
            );
        } else if exit == Exit::Unreachable && !is_untrusted(&error) {
            eprintln!("start a broker with `restante`, or say with --url and --admin-url where one listens");
        }
        exit
    })
}

/// Writes data to stdout. Whoever reads it may stop reading: that is no fault of ours.
///
/// # Errors
/// Anything else that keeps it from being written.
pub fn print(text: &str) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

async fn dispatch(command: Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Send(send) => send::run(send, global).await,
        Command::Consume(consume) => consume::run(consume, global).await,
        Command::Overview => admin::broker::overview(global).await,
        Command::Whoami => admin::broker::whoami(global).await,
        Command::Realm(realm) => admin::realm::run(realm, global).await,
        Command::User(user) => admin::user::run(user, global).await,
        Command::Token(token) => admin::token::run(token, global).await,
        Command::Role(role) => admin::role::run(role, global).await,
        Command::Rule(rule) => admin::rule::run(rule, global).await,
        Command::Route(route) => admin::route::run(route, global).await,
        Command::Queue(queue) => admin::queue::run(queue, global).await,
        Command::Queues(list) => admin::queue::list(list, global).await,
        Command::Why(queue) => admin::queue::why(queue, global).await,
        Command::Binding(binding) => admin::clients::binding(binding, global).await,
        Command::Address(address) => admin::clients::address(address, global).await,
        Command::Consumer(consumer) => admin::clients::consumer(consumer, global).await,
        Command::Session(session) => admin::clients::session(session, global).await,
        Command::Connection(connection) => admin::clients::connection(connection, global).await,
        Command::Registration(it) => admin::wamp::registration(it, global).await,
        Command::Subscription(it) => admin::wamp::subscription(it, global).await,
        Command::Call(it) => admin::wamp::call(it, global).await,
        Command::Explain(explain) => admin::broker::explain(explain, global).await,
        Command::Definitions(it) => admin::definitions::run(it, global).await,
        Command::LogLevel(level) => admin::broker::log_level(level, global).await,
        Command::Config => admin::broker::config(global).await,
        Command::Audit(audit) => admin::broker::audit(audit, global).await,
        Command::Completion(completion) => complete(completion.shell),
        Command::Health(health) => health::run(health, global).await,
        Command::Bench(bench) => bench::run(bench, global).await,
        Command::Version => {
            print(concat!("restante ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(Exit::Ok)
        }
        Command::Serve(_) | Command::CheckConfig(_) | Command::Verify => {
            Err(UsageError("this command has no client".into()).into())
        }
    }
}

fn complete(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "restante", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

fn is_unauthorized(error: &anyhow::Error) -> bool {
    if let Some(refused) = error.downcast_ref::<rest::Refused>() {
        return refused.status == 401;
    }
    let refused = |cause: &ClientError| match cause {
        ClientError::Unauthorized { status, .. } => *status == 401,
        ClientError::Fatal { code, .. } => *code == Code::Unauthorized,
        _ => false,
    };
    error.downcast_ref().is_some_and(refused)
}

/// Whether a broker does not let a client do what it wants.
fn is_denied(error: Option<&ClientError>) -> bool {
    matches!(
        error,
        Some(
            ClientError::Unauthorized { .. }
                | ClientError::Fatal {
                    code: Code::Unauthorized | Code::Denied,
                    ..
                }
                | ClientError::Refused(Code::Denied | Code::Unauthorized)
                | ClientError::Cancelled {
                    code: Some(Code::Denied | Code::Unauthorized),
                    ..
                }
        )
    )
}

/// Whether the other side's certificate did not pass.
fn is_untrusted(error: &anyhow::Error) -> bool {
    let found = |cause: &'_ (dyn std::error::Error + 'static)| {
        cause.is::<Untrusted>() || Untrusted::of(cause).is_some()
    };
    error.chain().any(found)
}

/// Whether the other side has let nobody in without a certificate.
fn wants_certificate(error: &anyhow::Error) -> bool {
    let wanted = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    error.chain().any(|cause| {
        let inner = io_error(cause).and_then(std::io::Error::get_ref);
        inner.and_then(|inner| inner.downcast_ref()) == Some(&wanted)
    })
}

/// Whether the other side answered the beginning of TLS with something that is none.
fn speaks_no_tls(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = io_error(cause).and_then(std::io::Error::get_ref);
        let broken = inner.and_then(|inner| inner.downcast_ref());
        matches!(broken, Some(rustls::Error::InvalidMessage(_)))
    })
}

/// The failure of a socket that an error is, be it wrapped by the client.
fn io_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let broken = cause.downcast_ref().map(<Arc<Broken>>::as_ref);
    match broken {
        Some(Broken::Io(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return Exit::Usage;
        }
        if let Some(ClientError::Unreachable { .. } | ClientError::Untrusted { .. }) =
            cause.downcast_ref()
        {
            return Exit::Unreachable;
        }
        if cause.is::<http::Unreachable>() {
            return Exit::Unreachable;
        }
        let refused = cause.downcast_ref::<rest::Refused>();
        if refused.is_some_and(rest::Refused::is_denied) || is_denied(cause.downcast_ref()) {
            return Exit::Denied;
        }
    }
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        assert!(parse("restante --data /x").unwrap().command.is_none());
    }

    #[test]
    fn options_of_all_commands_may_follow_the_command() {
        let cli = parse("restante send a/b --url ws://h:1/mbws --realm r --json").unwrap();
        assert_eq!(cli.global.url.as_deref().unwrap(), "ws://h:1/mbws");
        assert_eq!(cli.global.realm.as_deref(), Some("r"));
        assert!(cli.global.json);
        assert!(matches!(cli.command, Some(Command::Send(_))));
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        let code = |line| parse(line).unwrap_err().exit_code();
        assert_eq!(code("restante consume q --count 3 --follow"), 2);
        assert_eq!(code("restante send q --resume-file s"), 2);
        assert_eq!(code("restante send"), 2);
        assert_eq!(code("restante queues --user ada"), 2);
        assert_eq!(code("restante queues --certificate a.pem"), 2);
        assert_eq!(code("restante sned q"), 2);
        assert_eq!(code("restante send q --timeout soon"), 2);
    }

    #[test]
    fn help_begins_with_examples_and_ends_with_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.starts_with("Examples:"), "{help}");
        assert!(help.trim_end().ends_with(EXIT_CODES), "{help}");
    }

    /// Each command that has none below it, with the words that lead there.
    fn leaves(command: &clap::Command, words: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
        if command.get_subcommands().next().is_none() {
            visit(command, words);
        }
        for below in command.get_subcommands() {
            leaves(below, &format!("{words} {}", below.get_name()), visit);
        }
    }

    #[test]
    fn every_command_has_help_an_example_and_json() {
        let mut command = Cli::command();
        command.build();
        let mut count = 0;
        leaves(&command, "restante", &mut |leaf, words| {
            let is_help = words.split(' ').any(|word| word == "help");
            let is_of_old = ["serve", "check-config", "verify", "version"];
            if is_help || is_of_old.iter().any(|old| words.ends_with(old)) {
                return;
            }
            count += 1;
            assert!(leaf.get_about().is_some(), "{words} says nothing");
            let before = leaf
                .get_before_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(before.starts_with("Example"), "{words} has no example");
            for line in before
                .lines()
                .skip(1)
                .filter(|line| line.starts_with("  restante"))
            {
                let line = line.trim();
                assert!(
                    line.starts_with(words),
                    "`{line}` is an example of {words}?"
                );
                let args = example(line);
                if let Err(error) = Cli::try_parse_from(&args) {
                    panic!("`{line}` is no command: {error}");
                }
            }
            assert!(
                leaf.get_arguments().any(|arg| arg.get_id() == "json"),
                "{words} has no --json"
            );
        });
        assert!(count > 50, "{count}");
    }

    /// The words of a line as a shell has them: up to a redirection or a comment, quotes taken off.
    fn example(line: &str) -> Vec<String> {
        let ends = [" > ", " < ", " | ", " #"];
        let end = ends.iter().filter_map(|end| line.find(end)).min();
        let line = line
            .get(..end.unwrap_or(line.len()))
            .unwrap_or_default()
            .trim_end();
        let mut args = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => args.push(String::new()),
                c => args.last_mut().unwrap().push(c),
            }
        }
        args
    }

    #[test]
    fn an_error_finds_its_exit_code() {
        let unreachable = ClientError::Unreachable {
            url: "ws://h".into(),
            source: Arc::new(Broken::Closed(None)),
        };
        assert_eq!(exit_of(&unreachable.into()), Exit::Unreachable);
        assert_eq!(exit_of(&ClientError::Closed.into()), Exit::Failed);
        let denied = ClientError::Refused(Code::Denied);
        assert_eq!(exit_of(&denied.into()), Exit::Denied);
        let usage = anyhow::Error::new(UsageError("no".into())).context("in a context");
        assert_eq!(exit_of(&usage), Exit::Usage);
    }
}
