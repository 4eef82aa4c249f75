//! `user`. A password is never an argument: other users of the machine can read those.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Document, Dry, Fields, Named, Part, Remove, path};
use crate::cli::ask::password;
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const COLUMNS: &[Column] = &[
    Column("NAME", "name", Form::Plain),
    Column("ROLES", "roles", Form::Plain),
    Column("PASSWORD", "has_password", Form::Yes),
    Column("DISABLED", "disabled", Form::Yes),
    Column("DESCRIPTION", "description", Form::Plain),
];

/// `user`.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List the users
    #[command(before_help = "Examples:\n  restante user ls\n  restante user ls --role shop --json")]
    Ls(List),
    /// Show a user
    #[command(before_help = "Example:\n  restante user get alice")]
    Get(Named),
    /// Make a user, with a password that is asked for or read from a file
    #[command(
        before_help = "Examples:\n  restante user add alice --role shop\n  restante user add alice --role shop --new-password-file alice.secret\n  restante user add machine --role shop --no-password --cert-name cn:machine"
    )]
    Add(Add),
    /// Change roles, certificate names, public keys or description of a user
    #[command(
        before_help = "Examples:\n  restante user set alice --role shop,on-call\n  restante user set machine --public-key 1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d"
    )]
    Set(Set),
    /// Let a user in again
    #[command(before_help = "Example:\n  restante user enable alice")]
    Enable(Switch),
    /// Refuse a user, and close their connections
    #[command(before_help = "Example:\n  restante user disable alice")]
    Disable(Switch),
    /// Give a user another password
    #[command(
        before_help = "Examples:\n  restante user passwd alice\n  restante user passwd alice < alice.secret"
    )]
    Passwd(Passwd),
    /// Remove a user, and close their connections
    #[command(before_help = "Example:\n  restante user rm alice --yes")]
    Rm(Remove),
}

/// `user ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Only users with this role
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Only users who are refused
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    part: Part,
}

/// What is said of a user.
#[derive(Debug, Args)]
struct Said {
    /// Their roles; `set` replaces all that they have
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    role: Vec<String>,
    /// Names in client certificates that let this user in: cn:NAME, dns:NAME, uri:URI, email:ADDRESS, sha256:HEX
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cert_name: Vec<String>,
    /// Ed25519 public keys that are this user's, 64 hexadecimal digits each, for WAMP's cryptosign
    #[arg(long, value_name = "HEX", value_delimiter = ',')]
    public_key: Vec<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Said {
    fn fields(self) -> Fields {
        Fields::default()
            .list("roles", &self.role)
            .list("certificates", &self.cert_name)
            .list("public_keys", &self.public_key)
            .set("description", self.description)
    }
}

/// `user add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Their name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    said: Said,
    /// The file with the new password in its first line [default: stdin, or asked for]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// No password lets them in: they have a certificate or a public key
    #[arg(long, conflicts_with = "new_password_file")]
    no_password: bool,
    #[command(flatten)]
    dry: Dry,
}

/// `user set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Their name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    dry: Dry,
}

/// `user enable`, `user disable`.
#[derive(Debug, Args)]
pub struct Switch {
    /// Their name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    dry: Dry,
}

/// `user passwd`.
#[derive(Debug, Args)]
pub struct Passwd {
    /// Their name
    #[arg(value_name = "NAME")]
    name: String,
    /// The file with the new password in its first line [default: stdin, or asked for]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    dry: Dry,
}

/// Runs it.
///
/// # Errors
/// What the broker says; a password that cannot be read.
pub(in crate::cli) async fn run(user: User, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["users", name]);
    match user {
        User::Ls(list) => {
            let ask = Ask::get(path(&["users"])?)
                .maybe("role", list.role)
                .flag("disabled", list.disabled);
            super::list(&rest, ask, &list.part, COLUMNS, global).await
        }
        User::Get(named) => super::get(&rest, at(&named.name)?, global).await,
        User::Add(add) => {
            let place = (at(&add.name)?, format!("user {}", add.name));
            let secret = match add.no_password {
                true => None,
                false => Some(password(add.new_password_file.as_deref())?),
            };
            let body = add.said.fields().set("password", secret).json();
            super::add(&rest, place, body, add.dry, global).await
        }
        User::Set(set) => {
            let fields = set.said.fields();
            super::change(&rest, document(&set.name)?, fields, set.dry, global).await
        }
        User::Enable(switch) => set_disabled(&rest, switch, false, global).await,
        User::Disable(switch) => set_disabled(&rest, switch, true, global).await,
        User::Passwd(it) => {
            let document = document(&it.name)?;
            let secret = password(it.new_password_file.as_deref())?;
            let fields = Fields::default().set("password", Some(secret));
            super::change(&rest, document, fields, it.dry, global).await
        }
        User::Rm(it) => {
            let what = format!("user {}", it.name);
            super::remove(&rest, at(&it.name)?, &what, &it, global).await
        }
    }
}

async fn set_disabled(
    rest: &Rest,
    switch: Switch,
    disabled: bool,
    global: &Global,
) -> anyhow::Result<Exit> {
    let fields = Fields::default().set("disabled", Some(Value::Bool(disabled)));
    super::change(rest, document(&switch.name)?, fields, switch.dry, global).await
}

fn document(name: &str) -> anyhow::Result<Document> {
    Ok(Document {
        path: path(&["users", name])?,
        what: format!("user {name}"),
        shown_only: &["name", "revision", "has_password"],
        may_make: false,
    })
}
