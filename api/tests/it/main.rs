//! Administration over a real listener: gRPC and REST against an in-memory cluster.

mod access;
mod admins;
mod bodies;
mod both;
mod certificates;
mod cluster;
mod document;
mod errors;
mod events;
mod fixture;
mod http;
mod limits;
mod listener;
mod loads;
mod openapi;
mod progress;
mod records;
mod requests;
mod revocation;
mod same;
mod shapes;
mod tls;
