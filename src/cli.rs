//! The command line: arguments, and one module for each command.
//!
//! What a command prints for programs goes to stdout, what it says to people goes to stderr. Settings come, in this
//! order, from flags, the environment, defaults. Secrets come from files only. Exit codes are [`Exit`].
//!
//! Not here: `serve` (`crate::serve`): `main` calls it.

mod access;
pub mod bench;
mod consume;
mod http;
mod message_json;
mod notice;
mod queues;
mod send;
mod state_file;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use restante_proto::mbws::Code;

use crate::client::ClientError;

const EXAMPLES: &str = "\
Examples:
  restante                                    start the broker, data in ./restante-data
  restante send orders/eu < lines.txt         one message for each line
  restante consume orders/eu                  print what waits, then end
  restante consume orders/eu --follow --json  print what comes, for ever
  restante queues                             what waits where
  restante check-config restante.yaml         find every fault of a configuration";

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the broker cannot be reached.";

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
    /// List the queues
    Queues(queues::Queues),
    /// Find every fault of a configuration, or print what is in force
    CheckConfig(CheckConfig),
    /// Read a stopped broker's whole log and say what is in it, or where it is damaged
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
    /// The broker cannot be reached.
    Unreachable = 3,
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
            eprintln!("no key was taken; name who you are with --data (a broker's folder), --key-file, or --user and --password-file");
        }
        let exit = exit_of(&error);
        if exit == Exit::Unreachable {
            eprintln!("start a broker with `restante`, or say with --url where one listens");
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
        Command::Queues(queues) => queues::run(queues, global).await,
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

fn is_unauthorized(error: &anyhow::Error) -> bool {
    let refused = |cause: &ClientError| match cause {
        ClientError::Unauthorized { status, .. } => *status == 401,
        ClientError::Fatal { code, .. } => *code == Code::Unauthorized,
        _ => false,
    };
    error.downcast_ref().is_some_and(refused)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return Exit::Usage;
        }
        if let Some(ClientError::Unreachable { .. }) = cause.downcast_ref() {
            return Exit::Unreachable;
        }
        if cause.is::<http::Unreachable>() {
            return Exit::Unreachable;
        }
    }
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
        assert_eq!(code("restante sned q"), 2);
        assert_eq!(code("restante send q --timeout soon"), 2);
    }

    #[test]
    fn help_begins_with_examples_and_ends_with_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.starts_with("Examples:"), "{help}");
        assert!(help.trim_end().ends_with(EXIT_CODES), "{help}");
    }

    #[test]
    fn an_error_finds_its_exit_code() {
        use crate::client::Broken;
        let unreachable = ClientError::Unreachable {
            url: "ws://h".into(),
            source: std::sync::Arc::new(Broken::Closed(None)),
        };
        assert_eq!(exit_of(&unreachable.into()), Exit::Unreachable);
        assert_eq!(exit_of(&ClientError::Closed.into()), Exit::Failed);
        let usage = anyhow::Error::new(UsageError("no".into())).context("in a context");
        assert_eq!(exit_of(&usage), Exit::Usage);
    }
}
