//! Administration over a real listener: gRPC and REST against an in-memory cluster.

mod access;
mod admins;
mod cluster;
mod errors;
mod events;
mod fixture;
mod http;
mod limits;
mod listener;
mod records;
mod requests;
mod revocation;
mod same;
mod shapes;
mod tls;
