//! The program as a user runs it: processes, real sockets, kill -9; and the rules of the sources.

mod bad_input;
mod features;
mod process;
mod readme;
mod recovery;
mod script;
mod server;
mod tidy;
mod wait;
mod walk;
mod wire;
