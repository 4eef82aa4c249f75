//! The `restante` program: arguments, then configuration, then `serve` or a command, then an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use restante::cli::{self, CheckConfig, Cli, Command, Exit, Global, Serve};
use restante::config::{Config, Faults};
use restante::{access, audit, tls};
use restante_storage::{LogError, RealDisk};

// Gives memory back after a burst, where glibc's arenas keep it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The key of the configuration that names issuers of JWTs.
const JWT: &str = "access.jwt";

fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    let exit = match command.unwrap_or_else(|| Command::Serve(Serve::from_environment())) {
        Command::Serve(options) => serve(&options, &global),
        Command::CheckConfig(options) => check_config(&options, &global),
        Command::Verify => verify(&global),
        Command::Audit(audit) if audit.is_verify() => verify_audit(&global),
        other => cli::run(other, &global),
    };
    exit.into()
}

fn serve(options: &Serve, global: &Global) -> Exit {
    let config = match load(options.config.as_deref(), global) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let (file, global) = (options.config.clone(), global.clone());
    let again = Arc::new(move || read(file.as_deref(), &global));
    match restante::serve::run(&config, again) {
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
        Ok(config) => match check_files(&config) {
            Exit::Ok => print(&config.effective_yaml()),
            exit => exit,
        },
        Err(exit) => exit,
    }
}

/// Says what is wrong with the files that the configuration names.
fn check_files(config: &Config) -> Exit {
    let findings = tls::check(&config.tls);
    for finding in &findings {
        let kind = if finding.is_fault { "" } else { "warning: " };
        let (place, key, text) = (config.source(finding.key), finding.key, &finding.text);
        eprintln!("{place}: {key}: {kind}{text}");
    }
    let mut is_fault = findings.iter().any(|finding| finding.is_fault);
    if let Err(error) = access::check_issuers(&config.access.issuers) {
        let (place, key) = (config.source(JWT), JWT);
        eprintln!("{place}: {key}: {:#}", anyhow::Error::from(error));
        is_fault = true;
    }
    match is_fault {
        true => Exit::Failed,
        false => Exit::Ok,
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
            let damaged = matches!(error, LogError::Corrupt { .. } | LogError::Meta { .. });
            eprintln!("restante: {:#}", anyhow::Error::from(error));
            if damaged { Exit::Damaged } else { Exit::Failed }
        }
    }
}

/// Reads the whole audit log of a broker, which may run, and changes nothing.
fn verify_audit(global: &Global) -> Exit {
    let data = match load(None, global) {
        Ok(config) => config.data,
        Err(exit) => return exit,
    };
    match audit::verify(&data.join(audit::FOLDER)) {
        Ok(verified) => match print(&format!("{verified}\n")) {
            Exit::Ok if !verified.is_sound() => Exit::Damaged,
            exit => exit,
        },
        Err(error) => {
            eprintln!("restante: {:#}", anyhow::Error::from(error));
            Exit::Failed
        }
    }
}

/// The file, then the environment; `--data` on the command line counts most.
fn read(file: Option<&Path>, global: &Global) -> Result<Config, Faults> {
    let data = global
        .data
        .as_ref()
        .map(|it| (OsString::from("RESTANTE_DATA"), it.into()));
    let environment =
        std::env::vars_os().filter(|(name, _)| data.is_none() || name != "RESTANTE_DATA");
    Config::load(file, environment.chain(data.clone()))
}

fn load(file: Option<&Path>, global: &Global) -> Result<Config, Exit> {
    read(file, global).map_err(|faults| {
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
