//! The protocol's rules as the product runs them, model-checked: one model each for lease, slots, escrow, credits and both
//! forms of a scan.
//!
//! A model plays the world (who sends what, what is lost, repeated, late, who stands still, how time passes) and calls the product
//! for every decision: `State::apply` for the log, `LeaseBook` and `Lease` for leases, the ledger's own books for quota. Each has its
//! bound, states what it looks at, and has variants that break a rule on purpose: a search that misses one of those shows nothing.

pub mod credits;
pub mod escrow;
pub mod explore;
pub mod lease;
pub mod live;
pub mod logs;
pub mod quota;
pub mod scan;
pub mod slots;
mod world;
