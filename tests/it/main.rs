//! The agent's own program against a real S3 server, spoken to over its socket as Home Assistant does.
//!
//! One file for each thing that people do, or that goes wrong; `harness` is what they stand on.

#![cfg(test)]

mod harness;

mod access;
mod catalogue;
mod chaos;
mod cli;
mod copy;
mod damage;
mod diagnostics;
mod download;
mod endurance;
mod events;
mod faults;
mod hostile_bucket;
mod hostile_client;
mod identity;
mod import;
mod interop;
mod interrupted;
mod left_over;
mod limits;
mod listing;
mod locations;
mod log;
mod main_job;
mod model;
mod options;
mod outages;
mod page;
mod privacy;
mod process;
mod providers;
mod quirks;
mod recover;
mod removal;
mod resume;
mod schedule;
mod secrets;
mod servers;
mod sweep;
mod tls;
mod together;
mod upload_order;
mod verify;
mod wrong_input;
mod wrong_storage;
