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
mod download;
mod import;
mod interop;
mod limits;
mod listing;
mod locations;
mod main_job;
mod options;
mod outages;
mod process;
mod providers;
mod quirks;
mod resume;
mod servers;
mod tls;
mod upload_order;
mod wrong_input;
mod wrong_storage;
