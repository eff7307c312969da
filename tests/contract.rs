//! What the agent needs of every S3 server, and how it handles servers that deviate.

mod hostile_bucket;
mod import;
pub(crate) mod interop;
mod misconfigured_storage;
mod proxies;
mod quirks;
mod real_proxies;
pub(crate) mod servers;
mod troubleshooting;
mod unusual_addresses;
