//! Failures, races and crashes: no data is lost and nothing is left over.

mod chaos;
mod commit;
mod concurrency;
mod damage;
mod deletion;
mod endurance;
mod faults;
mod interrupted;
mod leftovers;
mod model;
mod outages;
pub(crate) mod resume;
mod sweep;
mod upload_order;
