//! Administration: one service layer, gRPC and REST on top of it, health and metrics, on one listener.

pub mod access;
pub mod error;
pub mod grpc;

pub mod rest;
pub mod server;
pub mod service;

pub use access::Verb;
pub use error::{ApiError, Code};
pub use rest::openapi;
pub use server::{ApiServer, CertificateName, Config, Material, Readiness, Tls, TlsError};
pub use service::vault::{HostKeyView, Vault};
pub use service::{Caller, Service};
