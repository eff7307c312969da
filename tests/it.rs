//! The agent's program against real S3 servers, called over its socket as Home Assistant does.
//!
//! `contract` holds what every S3 server must give, `api` what callers of the agent get, `resilience` what survives
//! failures. `lab` starts the servers and agents, and reads buckets independently.

#![cfg(test)]

mod lab;

mod api;
mod contract;
mod generated;
mod resilience;
