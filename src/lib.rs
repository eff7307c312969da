//! S3 Backup Agent: keeps Home Assistant's backups in any S3-compatible bucket.
//!
//! A map of the code; imports point downwards only.
//!
//! | module | knows |
//! |---|---|
//! | [`config`] | settings: read, merged, validated |
//! | [`cli`] | the command line, beside the API |
//! | [`supervisor`] | the announcement to Home Assistant, for the app |
//! | [`server`] | sockets |
//! | [`page`] | HTTP and HTML: the page for users |
//! | [`api`] | HTTP and JSON |
//! | [`agent`] | locations, backups and uploads |
//! | [`archive`] | the inside of a backup's tar |
//! | [`store`] | objects, keys, retries |
//! | [`backup`] | Home Assistant's `AgentBackup` |
//! | [`home_assistant`] | a new Home Assistant, which restores a backup |
//! | [`provider`] | the providers: endpoints, regions, quirks |
//! | [`system`] | the process, as the kernel shows it |
//! | [`logging`], [`error`], `similar`, `units` | what every module shares |
//!
//! The feature `fuzzing` adds `fuzzing`: entry points to all parsers of foreign input, for `fuzz/`.

pub mod agent;
pub mod api;
pub mod archive;
pub mod backup;
pub mod cli;
pub mod config;
pub mod error;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzing;
pub mod home_assistant;
pub mod logging;
pub mod page;
pub mod provider;
pub mod server;
mod similar;
pub mod store;
pub mod supervisor;
pub mod system;
mod units;
