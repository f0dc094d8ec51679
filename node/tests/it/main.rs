//! Tests of the whole workspace's shape.

#![allow(clippy::unwrap_used)]

mod metrics;
mod tidy;
