//! The `restante` program: arguments, then configuration, then `serve` or a command, then an exit code.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use restante::cli::{self, CheckConfig, Cli, Command, Exit, Global, Serve};
use restante::config::Config;

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

fn check_config(options: &CheckConfig, global: &Global) -> Exit {
    if options.example {
        print!("{}", Config::example_yaml());
        return Exit::Ok;
    }
    match load(options.file.as_deref(), global) {
        Ok(config) => {
            print!("{}", config.effective_yaml());
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// The configuration of file, environment and flags, or all that is wrong with it, said on stderr.
fn load(file: Option<&Path>, global: &Global) -> Result<Config, Exit> {
    let flag = global.data.as_ref();
    // A flag goes before the environment.
    let data = flag.map(|data| (OsString::from("RESTANTE_DATA"), data.into()));
    let environment = env::vars_os().filter(|(name, _)| flag.is_none() || name != "RESTANTE_DATA");
    Config::load(file, environment.chain(data)).map_err(|faults| {
        eprintln!("{faults}");
        Exit::Failed
    })
}
