//! Who is there: `connection`, `session`, `consumer`, `binding`, `address`.

use clap::{Args, Subcommand};

use super::{Dry, Part, path};
use crate::cli::ask::Sure;
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const CONNECTIONS: &[Column] = &[
    Column("ID", "id", Form::Plain),
    Column("REALM", "realm", Form::Plain),
    Column("PRINCIPAL", "principal", Form::Plain),
    Column("NAME", "name", Form::Plain),
    Column("CLIENT", "client", Form::Plain),
    Column("PROTOCOL", "protocol", Form::Plain),
    Column("SP-ROLE", "sp.role", Form::Plain),
    Column("SP-ADDRESS", "sp.address", Form::Plain),
    Column("PEER", "peer", Form::Plain),
    Column("TLS", "tls", Form::Yes),
    Column("FOR", "since", Form::Age),
];
const SESSIONS: &[Column] = &[
    Column("ID", "id", Form::Plain),
    Column("REALM", "realm", Form::Plain),
    Column("PRINCIPAL", "principal", Form::Plain),
    Column("NAME", "name", Form::Plain),
    Column("CLIENT", "client", Form::Plain),
    Column("CONNECTED", "connection", Form::Yes),
    Column("CONSUMERS", "consumers", Form::Plain),
    Column("UNSETTLED", "unsettled", Form::Plain),
    Column("ENDS", "ends_at", Form::Time),
];
const CONSUMERS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("QUEUE", "queue", Form::Plain),
    Column("FILTER", "filter", Form::Plain),
    Column("PRINCIPAL", "principal", Form::Plain),
    Column("SESSION", "session", Form::Plain),
    Column("NAME", "name", Form::Plain),
    Column("CREDIT", "credit", Form::Limit),
    Column("UNSETTLED", "unsettled", Form::Plain),
    Column("EXCLUSIVE", "exclusive", Form::Yes),
];
const BINDINGS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("FILTER", "filter", Form::Plain),
    Column("QUEUE", "queue", Form::Plain),
];
const ADDRESSES: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("ADDRESS", "address", Form::Plain),
    Column("QUEUES", "queues", Form::Plain),
    Column("ROUTES", "routes", Form::Plain),
    Column("LISTENERS", "listeners", Form::Plain),
];

/// `connection`.
#[derive(Debug, Subcommand)]
pub enum Connection {
    /// List the connections of clients
    #[command(before_help = "Example:\n  restante connection ls --principal alice")]
    Ls(List),
    /// Show a connection
    #[command(before_help = "Example:\n  restante connection get 17")]
    Get(Id),
    /// Close a connection; its session goes on and its client may come back, unless `session end` ends that too
    #[command(
        before_help = "Example:\n  restante connection kick 019a9d2e-5b1c-7c63-9a41-0d4f6f1c2b7e"
    )]
    Kick(Act),
}

/// `session`.
#[derive(Debug, Subcommand)]
pub enum Session {
    /// List the sessions, of clients that are there or are expected back
    #[command(before_help = "Example:\n  restante session ls --sort -unsettled")]
    Ls(List),
    /// Show a session
    #[command(
        before_help = "Example:\n  restante session get 0190b0c2-7a4e-7c3e-9a54-3f8a4b1d2e60"
    )]
    Get(Id),
    /// End a session with its consumers: what it has in hand is ready again
    #[command(
        before_help = "Example:\n  restante session end 0190b0c2-7a4e-7c3e-9a54-3f8a4b1d2e60 --yes"
    )]
    End(Surely),
    /// Take back all that a session has in hand, for others; the session goes on
    #[command(
        before_help = "Example:\n  restante session release 0190b0c2-7a4e-7c3e-9a54-3f8a4b1d2e60 --yes"
    )]
    Release(Surely),
}

/// `consumer`.
#[derive(Debug, Subcommand)]
pub enum Consumer {
    /// List the consumers of queues and topics
    #[command(before_help = "Example:\n  restante consumer ls --queue orders/eu")]
    Ls(Consumers),
}

/// `binding`.
#[derive(Debug, Subcommand)]
pub enum Binding {
    /// List what is bound to which queue; `queue bind` and `queue unbind` change it
    #[command(before_help = "Example:\n  restante binding ls --queue orders/eu")]
    Ls(OfQueue),
}

/// `address`.
#[derive(Debug, Subcommand)]
pub enum Address {
    /// List the addresses and filters that a queue, a route or a listener takes from
    #[command(before_help = "Example:\n  restante address ls --prefix orders/")]
    Ls(Part),
}

/// `connection ls`, `session ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this principal: a user's name, or token:LABEL
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// What to sort by, with a `-` in front from the largest on
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    #[command(flatten)]
    part: Part,
}

/// `consumer ls`.
#[derive(Debug, Args)]
pub struct Consumers {
    /// Only those of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those of this principal
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// At most so many [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// `binding ls`.
#[derive(Debug, Args)]
pub struct OfQueue {
    /// Only those of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    #[command(flatten)]
    part: Part,
}

/// A client's connection or session.
#[derive(Debug, Args)]
pub struct Id {
    /// Its id, as listed
    #[arg(value_name = "ID")]
    id: String,
}

/// Something that is done to it.
#[derive(Debug, Args)]
pub struct Act {
    /// Its id, as listed
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    dry: Dry,
}

/// Something that is done to it, and takes something from it.
#[derive(Debug, Args)]
pub struct Surely {
    /// Its id, as listed
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// Runs `connection`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn connection(it: Connection, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    match it {
        Connection::Ls(it) => clients(&rest, "connections", it, CONNECTIONS, global).await,
        Connection::Get(it) => super::get(&rest, path(&["connections", &it.id])?, global).await,
        Connection::Kick(it) => {
            let ask = Ask::delete(path(&["connections", &it.id])?);
            let what = format!("connection {}", it.id);
            super::act(&rest, ask, (&what, "closed"), it.dry, global).await
        }
    }
}

/// Runs `session`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn session(it: Session, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |id: &str| path(&["sessions", id]);
    match it {
        Session::Ls(it) => clients(&rest, "sessions", it, SESSIONS, global).await,
        Session::Get(it) => super::get(&rest, at(&it.id)?, global).await,
        Session::End(it) => {
            let (ask, what) = (Ask::delete(at(&it.id)?), format!("session {}", it.id));
            let (doing, sure) = (format!("end {what}"), (&it.sure, it.dry));
            super::sure(&rest, &at(&it.id)?, &doing, &it.id, sure).await?;
            super::act(&rest, ask, (&what, "ended"), it.dry, global).await
        }
        Session::Release(it) => {
            let ask = Ask::post(format!("{}:release", at(&it.id)?));
            let what = format!("session {}", it.id);
            let doing = format!("take back all that {what} has in hand");
            super::sure(&rest, &at(&it.id)?, &doing, &it.id, (&it.sure, it.dry)).await?;
            super::act(&rest, ask, (&what, "released"), it.dry, global).await
        }
    }
}

async fn clients(
    rest: &Rest,
    kind: &str,
    it: List,
    columns: &[Column],
    global: &Global,
) -> anyhow::Result<Exit> {
    let ask = Ask::get(path(&[kind])?)
        .maybe("realm", rest.named_realm())
        .maybe("principal", it.principal)
        .maybe("sort", it.sort);
    super::list(rest, ask, &it.part, columns, global).await
}

/// Runs `consumer`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn consumer(it: Consumer, global: &Global) -> anyhow::Result<Exit> {
    let Consumer::Ls(it) = it;
    let rest = Rest::new(global)?;
    let ask = Ask::get(path(&["consumers"])?)
        .maybe("realm", rest.named_realm())
        .maybe("queue", it.queue)
        .maybe("principal", it.principal)
        .maybe("session", it.session);
    let part = Part {
        prefix: None,
        limit: it.limit,
    };
    super::list(&rest, ask, &part, CONSUMERS, global).await
}

/// Runs `binding`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn binding(it: Binding, global: &Global) -> anyhow::Result<Exit> {
    let Binding::Ls(it) = it;
    let rest = Rest::new(global)?;
    let ask = Ask::get(path(&["bindings"])?)
        .maybe("realm", rest.named_realm())
        .maybe("queue", it.queue);
    super::list(&rest, ask, &it.part, BINDINGS, global).await
}

/// Runs `address`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn address(it: Address, global: &Global) -> anyhow::Result<Exit> {
    let Address::Ls(part) = it;
    let rest = Rest::new(global)?;
    let ask = Ask::get(path(&["realms", rest.realm(), "addresses"])?);
    super::list(&rest, ask, &part, ADDRESSES, global).await
}
