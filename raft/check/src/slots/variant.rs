//! What breaks when a rule of sessions is left out. Each must be caught.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What the product does.
    Product,
    /// A session is served before its open is answered (2.1).
    ServesBeforeTheAnswer,
    /// An open of unknown outcome is given up when its client leaves (2.4).
    GivesUpUnknownOpens,
    /// A client that left before the answer came is not closed (2.4).
    ForgetsWhoLeft,
    /// A repeated command is taken once more (2.4).
    TakesTwice,
    /// A node says that it has the answers of all lower numbers (2.4).
    ClaimsAllAnswers,
    /// The close is proposed while the session serves (2.2).
    ClosesBeforeItsEnd,
    /// A kill gives the slot back by itself (2.2).
    KillFreesTheSlot,
    /// The log ends an epoch whose lease may be alive (1.3).
    ExpiresALivingLease,
    /// A command of an epoch that is over is taken in the next (2.1).
    TakesOldEpochs,
}

impl Variant {
    pub const BROKEN: [Variant; 9] = [
        Variant::ServesBeforeTheAnswer,
        Variant::GivesUpUnknownOpens,
        Variant::ForgetsWhoLeft,
        Variant::TakesTwice,
        Variant::ClaimsAllAnswers,
        Variant::ClosesBeforeItsEnd,
        Variant::KillFreesTheSlot,
        Variant::ExpiresALivingLease,
        Variant::TakesOldEpochs,
    ];
}
