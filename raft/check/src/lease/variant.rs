//! What breaks when a rule of leases is left out. Each must be caught.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What the product does.
    Product,
    /// A renewal counts once a leader has it in memory (1.2).
    CountsInMemory,
    /// An applied renewal extends from the last send, not from its own (1.2).
    FromLastSend,
    /// From its apply (1.2).
    FromApply,
    /// A snapshot extends from the last send, whichever renewal is in it (1.2).
    SnapshotFromLastSend,
    /// Expiry ends the epoch whatever was renewed before it in the log (1.3).
    ExpiresUnconditionally,
    /// A leader waits TTL by its own clock, without an allowance for rates and without the margin (1.3).
    NoAllowance,
    /// A lease is over once both of the holder's clocks say so, not either (1.4).
    AsksBothClocks,
    /// A replica that restarts takes a renewal for as old as the log is (1.3).
    RestartKnowsNothing,
    /// Sessions look at the newest lease of their process (1.5).
    OneDeadlinePerProcess,
    /// A renewal that is applied late revives a lease (1.5).
    LateRenewalRevives,
    /// A process registers while its lease is alive (1.5).
    RegistersWhileAlive,
    /// A lease counts from the apply of its registration (1.5).
    RegistrationFromApply,
}

impl Variant {
    pub const BROKEN: [Variant; 12] = [
        Variant::CountsInMemory,
        Variant::FromLastSend,
        Variant::FromApply,
        Variant::SnapshotFromLastSend,
        Variant::ExpiresUnconditionally,
        Variant::NoAllowance,
        Variant::AsksBothClocks,
        Variant::RestartKnowsNothing,
        Variant::OneDeadlinePerProcess,
        Variant::LateRenewalRevives,
        Variant::RegistersWhileAlive,
        Variant::RegistrationFromApply,
    ];
}
