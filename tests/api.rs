//! What callers of the agent get: HTTP API, page, command line, process.

pub(crate) mod access;
mod cli;
mod copy;
mod diagnostics;
mod download;
mod events;
mod hostile_client;
mod identity;
mod invalid_input;
mod later_home_assistant;
mod limits;
mod listing;
mod locations;
mod log;
mod nearby;
mod options;
mod page;
mod privacy;
mod process;
mod providers;
mod recover;
mod round_trip;
mod schedule;
mod secrets;
mod settings;
mod tls;
mod verify;
