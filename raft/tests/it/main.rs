//! Integration tests of the replicated core.

mod cluster;
mod consensus;
mod disk_full;
mod failover;
mod folder;
mod generated;
mod kills;
mod leases;
mod links;
mod outcomes;
mod power;
mod recover;
mod settings;
mod snapshots;
mod space;
mod store;
mod suite;
mod vouchers;
mod writer;
