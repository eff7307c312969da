//! Possible steps, chosen by a seed.

use crate::lab::Failure;

/// Backups uploaded by the agent.
pub(super) const OWN: [&str; 3] = ["a1", "b2", "c3"];

/// Backups written by another tool.
pub(super) const FOREIGN: [&str; 2] = ["f1", "f2"];

/// A name that no agent generates.
pub(super) fn foreign_keys(id: &str) -> [String; 2] {
    [".tar", ".metadata.json"].map(|ending| format!("backups/odd name+{id} #%ä{ending}"))
}

/// The id of any backup, by its number.
pub(super) fn id(any: usize) -> &'static str {
    OWN.iter().chain(&FOREIGN).nth(any).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Uploads one of [`OWN`]; each version has other bytes.
    Upload {
        own: usize,
        version: u8,
        is_large: bool,
        trouble: Trouble,
    },
    /// The sender disconnects after half the content.
    SendHalf {
        own: usize,
        version: u8,
    },
    /// Deletes any backup.
    Delete {
        any: usize,
        trouble: Trouble,
    },
    List {
        refresh: bool,
        trouble: Trouble,
    },
    Download {
        any: usize,
        trouble: Trouble,
    },
    /// Another tool writes a complete backup of [`FOREIGN`].
    ForeignWrite {
        foreign: usize,
        version: u8,
    },
    /// Another tool deletes a backup.
    ForeignDelete {
        foreign: usize,
    },
    /// Another tool writes invalid metadata beside a tar, or a tar alone.
    ForeignGarbage {
        with_tar: bool,
    },
    /// Another agent on the same folder uploads one of [`OWN`].
    OtherUpload {
        own: usize,
        version: u8,
        is_large: bool,
    },
    /// Another agent deletes any backup.
    OtherDelete {
        any: usize,
    },
    /// Kills the agent between two calls.
    Crash,
    /// This many seconds pass.
    Wait {
        seconds: u64,
    },
    /// More than a day passes, with the agent killed in between.
    Day,
    /// The clock is set back and the agent restarted: its files are from the future.
    SetBack,
}

/// A failure during a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// A request fails.
    Fails {
        number: usize,
        failure: Failure,
    },
    /// From this request on, the server's clock is this many hours off.
    Skewed {
        number: usize,
        hours: i64,
    },
    /// The agent is killed after this many requests, before or after the last is executed.
    Killed {
        number: usize,
        is_done: bool,
    },
}

impl Step {
    pub(super) fn trouble(self) -> Trouble {
        match self {
            Self::Upload { trouble, .. }
            | Self::Delete { trouble, .. }
            | Self::List { trouble, .. }
            | Self::Download { trouble, .. } => trouble,
            _ => Trouble::None,
        }
    }
}

impl Trouble {
    /// Returns whether a call may fail because of it: momentary failures are retried.
    pub(super) fn may_end_a_call(self) -> bool {
        match self {
            Self::Fails { failure, .. } => !failure.is_transient(),
            Self::Skewed { .. } => true,
            Self::None | Self::Killed { .. } => false,
        }
    }
}

/// Numbers derived from a seed.
struct Dice(u64);

impl Dice {
    /// A number below `end`. Source of the steps: `SplitMix64` (Steele, Lea, Flood: "Fast
    /// splittable pseudorandom number generators", 2014).
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 16).unwrap() % end
    }

    fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn version(&mut self) -> u8 {
        u8::try_from(self.below(4)).unwrap()
    }

    fn trouble(&mut self) -> Trouble {
        let number = 1 + self.below(10);
        match self.below(10) {
            0..5 => Trouble::None,
            5..8 => Trouble::Killed {
                number,
                is_done: self.is_one_in(2),
            },
            8 if self.is_one_in(2) => Trouble::Skewed {
                number,
                hours: [-1, 1][self.below(2)],
            },
            _ => Trouble::Fails {
                number,
                failure: Failure::ALL[self.below(Failure::ALL.len())],
            },
        }
    }

    /// Like [`Self::trouble`], for lists: they see all of a clock skew or none.
    fn trouble_of_a_look(&mut self) -> Trouble {
        match self.trouble() {
            Trouble::Skewed { hours, .. } => Trouble::Skewed { number: 1, hours },
            trouble => trouble,
        }
    }

    fn step(&mut self) -> Step {
        let (own, any) = (self.below(OWN.len()), self.below(OWN.len() + FOREIGN.len()));
        let foreign = self.below(FOREIGN.len());
        match self.below(34) {
            0..9 => {
                let (version, is_large) = (self.version(), self.is_one_in(4));
                Step::Upload {
                    own,
                    version,
                    is_large,
                    trouble: self.trouble(),
                }
            }
            9..11 => Step::SendHalf {
                own,
                version: self.version(),
            },
            11..14 => Step::Delete {
                any,
                trouble: self.trouble_of_a_look(),
            },
            14..18 => Step::List {
                refresh: self.is_one_in(2),
                trouble: self.trouble_of_a_look(),
            },
            18..21 => Step::Download {
                any,
                trouble: self.trouble_of_a_look(),
            },
            21..23 => Step::ForeignWrite {
                foreign,
                version: self.version(),
            },
            23 => Step::ForeignDelete { foreign },
            24 => Step::ForeignGarbage {
                with_tar: self.is_one_in(2),
            },
            25..27 => Step::Crash,
            27..29 => Step::Wait {
                seconds: [1, 6, 40, 301, 700][self.below(5)],
            },
            29 => Step::Day,
            30..32 => Step::OtherUpload {
                own,
                version: self.version(),
                is_large: self.is_one_in(4),
            },
            32 => Step::OtherDelete { any },
            _ => Step::SetBack,
        }
    }
}

pub(super) fn from_seed(seed: u64, length: usize) -> Vec<Step> {
    let mut dice = Dice(seed);
    (0..length).map(|_| dice.step()).collect()
}
