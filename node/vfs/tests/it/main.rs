//! Tests of storage backends: the conformance suite, and what the local backend promises beyond it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod capabilities;
mod conformance;
mod credits;
mod cuts;
mod escapes;
mod fence;
mod fixtures;
mod freezes;
mod full_disk;
mod guards;
mod hidden_folder;
mod kills;
mod made;
mod marker;
mod moved_away;
mod names;
mod owner;
mod power_cuts;
mod publish_races;
mod reading;
mod scan;
mod special_files;
mod swaps;
