//! Tests of the replicated model through its public face.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod bounds;
mod ended_epochs;
mod escrow;
mod golden;
mod history;
mod live_scans;
mod membership;
mod once;
mod random_run;
mod records;
mod reference;
mod registration;
mod restore;
mod sessions;
mod settings;
mod snapshots;
mod tenants;
mod users;
mod world;
