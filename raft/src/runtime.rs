//! What openraft runs on: tokio, and in the simulation tokio with random numbers of its seed.

#[cfg(not(feature = "simulation"))]
pub use openraft::impls::TokioRuntime as Runtime;

#[cfg(feature = "simulation")]
pub mod seeded;
#[cfg(feature = "simulation")]
pub use seeded::Seeded as Runtime;
