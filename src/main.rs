//! The `restante` program: arguments, then configuration, then `serve` or a command, then an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use restante::cli::{self, CheckConfig, Cli, Command, Exit, Global, Serve};
use restante::config::Config;
use restante_storage::RealDisk;

// Gives memory back after a burst, where glibc's arenas keep it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    let exit = match command.unwrap_or_else(|| Command::Serve(Serve::from_environment())) {
        Command::Serve(options) => serve(&options, &global),
        Command::CheckConfig(options) => check_config(&options, &global),
        Command::Verify => verify(&global),
        other => cli::run(other, &global),
    };
    exit.into()
}

fn serve(options: &Serve, global: &Global) -> Exit {
    let config = match load(options.config.as_deref(), global) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match restante::serve::run(&config) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("restante: {error:#}");
            Exit::Failed
        }
    }
}

fn check_config(options: &CheckConfig, global: &Global) -> Exit {
    if options.example {
        return print(&Config::example_yaml());
    }
    match load(options.file.as_deref(), global) {
        Ok(config) => print(&config.effective_yaml()),
        Err(exit) => exit,
    }
}

/// Reads the whole log of a broker that is stopped, and changes nothing.
fn verify(global: &Global) -> Exit {
    let data = match load(None, global) {
        Ok(config) => config.data,
        Err(exit) => return exit,
    };
    match restante_storage::verify(Arc::new(RealDisk), &data) {
        Ok(report) => print(&format!("{report}\n")),
        Err(error) => {
            eprintln!("restante: {:#}", anyhow::Error::from(error));
            Exit::Failed
        }
    }
}

/// The file, then the environment; `--data` on the command line counts most.
fn load(file: Option<&Path>, global: &Global) -> Result<Config, Exit> {
    let data = global
        .data
        .as_ref()
        .map(|it| (OsString::from("RESTANTE_DATA"), it.into()));
    let environment =
        std::env::vars_os().filter(|(name, _)| data.is_none() || name != "RESTANTE_DATA");
    Config::load(file, environment.chain(data.clone())).map_err(|faults| {
        eprintln!("{}", faults.to_string().trim_end());
        Exit::Failed
    })
}

fn print(text: &str) -> Exit {
    match cli::print(text) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("restante: cannot write to stdout: {error}");
            Exit::Failed
        }
    }
}
