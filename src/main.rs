//! The `restante` program: arguments, then configuration, then `serve` or a command, then an exit code.

use std::process::ExitCode;

use clap::Parser;
use restante::cli::{self, CheckConfig, Cli, Command, Exit, Global, Serve};

fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    let exit = match command.unwrap_or(Command::Serve(Serve::default())) {
        Command::Serve(options) => serve(&options, &global),
        Command::CheckConfig(options) => check_config(&options, &global),
        other => cli::run(other, &global),
    };
    exit.into()
}

fn serve(_options: &Serve, _global: &Global) -> Exit {
    eprintln!("restante: this build has no broker");
    Exit::Failed
}

fn check_config(_options: &CheckConfig, _global: &Global) -> Exit {
    eprintln!("restante: this build has no configuration");
    Exit::Failed
}
