//! Integration tests of the replicated core.

mod cluster;
mod consensus;
mod failover;
mod folder;
mod generated;
mod leases;
mod settings;
mod snapshots;
mod store;
mod suite;
