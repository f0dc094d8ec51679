//! What breaks when a rule of the live scan is left out. Each must be caught.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What the product does.
    Product,
    /// The walk begins before all have confirmed.
    EarlyWalk,
    /// Staging is not walked again at the end.
    NoLastStaging,
    /// A report that settles nothing.
    EmptyReport,
    /// What was renamed is not told, while it lasts or when it is over.
    SilentRename,
    SilentShrink,
    /// A write that began before the confirmation is not told.
    SilentOldWrite,
    /// A report says nothing of renames and shrinks that are not over.
    SilentMoving,
    /// A report says nothing of writes that began before the confirmation and are not over.
    SilentOldWriting,
    /// Open files count as charged for what they were once.
    KeepsCharged,
    /// A report says nothing of removed files that are open.
    SilentHeld,
    /// Who has an open file removed has it credited as it was charged before the scan.
    StaleCredit,
    /// A removed file that is open counts as nameless once its credit is held, not from its unlinking on: what the product did until
    /// this model looked at it.
    NamelessOnceHeld,
    /// What was charged at the report and is settled behind it leaves no mark: so did the product, too.
    NoDoubtOfHeldRoom,
}

impl Variant {
    pub const BROKEN: [Variant; 13] = [
        Variant::EarlyWalk,
        Variant::NoLastStaging,
        Variant::EmptyReport,
        Variant::SilentRename,
        Variant::SilentShrink,
        Variant::SilentOldWrite,
        Variant::SilentMoving,
        Variant::SilentOldWriting,
        Variant::KeepsCharged,
        Variant::SilentHeld,
        Variant::StaleCredit,
        Variant::NamelessOnceHeld,
        Variant::NoDoubtOfHeldRoom,
    ];
}
