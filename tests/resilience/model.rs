//! Random work on one bucket, with crashes, failing requests, other agents and tools, and clock
//! steps, compared with a plain map.
//!
//! A failure prints its seed and the shortest list of steps that still fails.
//! `S3_BACKUP_AGENT_TEST_SEED` repeats one seed, `S3_BACKUP_AGENT_TEST_SECONDS` sets the duration.

mod map;
mod steps;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use steps::Step;
use world::World;

/// Steps per run.
const LENGTH: usize = 30;

/// Time during which new runs start.
const SECONDS: u64 = 15;

/// Time for shrinking a failure.
const SHRINK_FOR: Duration = Duration::from_mins(2);

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

/// The first deviation, if any.
fn fails(steps: &[Step]) -> Option<String> {
    let run = || World::new().run_steps(steps);
    let panicked = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panicked.downcast_ref::<String>().cloned();
    Some(
        text.or_else(|| panicked.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default(),
    )
}

/// Removes steps while the run still fails.
fn shrunk(mut steps: Vec<Step>) -> Vec<Step> {
    let (deadline, mut size) = (Instant::now() + SHRINK_FOR, steps.len() / 2);
    while size > 0 {
        let mut start = 0;
        while start < steps.len() && Instant::now() < deadline {
            let mut shorter = steps.clone();
            shorter.drain(start..steps.len().min(start + size));
            if fails(&shorter).is_some() {
                steps = shorter;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    steps
}

#[test]
fn bucket_always_matches_acknowledged_work() {
    let chosen = variable("S3_BACKUP_AGENT_TEST_SEED");
    let seconds = variable("S3_BACKUP_AGENT_TEST_SECONDS").unwrap_or(SECONDS);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut seed = chosen.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 16);
    let (first, mut runs) = (seed, 0);
    while runs == 0 || (chosen.is_none() && Instant::now() < deadline) {
        let steps = steps::from_seed(seed, LENGTH);
        if let Some(why) = fails(&steps) {
            let shorter = shrunk(steps);
            let again = fails(&shorter).unwrap_or_else(|| "it does not fail every time".to_owned());
            let shorter: Vec<_> = shorter.iter().map(|step| format!("{step:?}")).collect();
            panic!(
                "The shortest that fails:\n{}\n{again}\nseed {seed}: {why}",
                shorter.join("\n")
            );
        }
        (runs, seed) = (runs + 1, seed + 1);
    }
    println!("{runs} runs of {LENGTH} steps, from seed {first}");
}
