//! What the programs of Stepstream share outside the pure core.

pub mod artifact;
pub mod bus;
pub mod clock;
pub mod offload;
pub mod random;
pub mod reach;
pub mod servers;
pub mod shutdown;
pub mod telemetry;
