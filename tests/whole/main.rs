//! The program as a user runs it: processes, real sockets, kill -9; and the rules of the sources.

mod bad_input;
mod commands;
mod crowd;
mod features;
mod fuzz;
mod loads;
mod mqtt;
mod observed;
mod ops;
mod peer;
mod process;
mod readme;
mod recovery;
mod rights;
mod scram;
mod script;
mod secrets;
mod server;
mod sp;
mod tidy;
mod tls;
mod trials;
mod wait;
mod walk;
mod wamp;
mod wire;
