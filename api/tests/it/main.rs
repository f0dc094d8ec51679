//! Administration over a real listener: gRPC and REST against an in-memory cluster.

mod access;
mod cluster;
mod errors;
mod fixture;
mod http;
mod limits;
mod listener;
mod requests;
mod revocation;
mod same;
mod shapes;
mod tls;
