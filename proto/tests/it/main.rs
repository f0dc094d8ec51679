//! Tests of the wire: that the checked-in code is what the generator makes now.

mod generated;
