//! Every model to its bound, and every variant of it caught. Together within the gate's 90 seconds.

mod credits;
mod escrow;
mod lease;
mod live;
mod scan;
mod slots;
