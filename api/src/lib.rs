//! Administration: one service layer, REST on top of it, health and metrics, on one listener.

pub mod error;
pub mod rest;
pub mod server;
pub mod service;

pub use error::{ApiError, Code};
pub use server::{ApiServer, Config, Readiness};
pub use service::{Caller, Service};
