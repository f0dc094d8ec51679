//! Tests of storage backends: the conformance suite, and what the local backend promises beyond it.

mod conformance;
mod fixtures;
