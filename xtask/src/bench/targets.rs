//! What each figure is held to: the targets of the project, and whether a report meets them.

use super::report::Run;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    AtMost,
    AtLeast,
}

/// A target for one percentile of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) run: &'static str,
    pub(super) percent: usize,
    pub(super) goal: Goal,
    pub(super) value: f64,
}

const fn at_most(run: &'static str, percent: usize, value: f64) -> Target {
    Target { run, percent, goal: Goal::AtMost, value }
}

const fn at_least(run: &'static str, value: f64) -> Target {
    Target { run, percent: 50, goal: Goal::AtLeast, value }
}

/// For two cores, the walls as designed, and the default image on Debian's Python 3.11.
pub(super) const TARGETS: &[Target] = &[
    at_most("engine_create_first_result", 50, 0.6),
    at_most("engine_create_first_result", 99, 5.0),
    at_most("engine_create_first_result_no_context", 50, 2.5),
    at_most("engine_first_pandas", 50, 5.0),
    at_most("engine_cell", 50, 0.2),
    at_most("engine_cell_after_idling", 50, 0.5),
    at_most("engine_delete", 50, 2.0),
    at_least("engine_sustained", 350.0),
    at_least("engine_concurrent_cells", 6000.0),
    at_least("engine_tiny_prints", 30.0),
    at_least("engine_big_writes", 500.0),
    at_most("engine_lone_print", 95, 10.0),
    at_least("engine_native_loop", 0.97),
    at_least("engine_native_numpy", 0.97),
    at_most("http_create_print", 50, 1.0),
    at_most("http_create_print", 99, 8.0),
    at_most("http_cell", 50, 0.4),
    at_most("http_cell_after_idling", 50, 0.8),
    at_most("http_burst", 50, 250.0),
    at_least("http_sustained", 250.0),
    at_least("http_concurrent_cells", 3500.0),
    at_most("density_memory_1000", 50, 1.8),
    at_most("density_memory_pandas_1000", 50, 6.0),
    at_most("density_idle_cpu", 50, 1.0),
    at_most("serve_start_first_run", 50, 1500.0),
];

impl Target {
    /// Returns the targets of a run.
    pub(super) fn of(run: &str) -> impl Iterator<Item = &'static Target> {
        TARGETS.iter().filter(move |target| target.run == run)
    }

    /// Returns whether a run meets this; `None` where it has no sample.
    pub(super) fn is_met(&self, run: &Run) -> Option<bool> {
        let found = run.percentile(self.percent)?;
        let within = match self.goal {
            Goal::AtMost => found <= self.value,
            Goal::AtLeast => found >= self.value,
        };
        Some(within && run.failures == 0)
    }

    /// Returns the target in words.
    pub(super) fn words(&self) -> String {
        let sign = if self.goal == Goal::AtMost { "≤" } else { "≥" };
        let percent = if self.percent == 50 { String::new() } else { format!("p{} ", self.percent) };
        format!("{percent}{sign} {}", self.value)
    }
}

/// Returns what a row says of its targets: nothing, or each with whether it is met.
pub(super) fn verdict(run: &Run) -> String {
    let words = Target::of(&run.name).map(|target| match target.is_met(run) {
        Some(true) => target.words(),
        Some(false) => format!("**{} missed**", target.words()),
        None => format!("**{} not measured**", target.words()),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, samples: &[f64]) -> Run {
        let mut run = Run::milliseconds(name, "");
        for sample in samples {
            run.take(Ok(*sample));
        }
        run
    }

    #[test]
    fn each_percentile_is_judged_by_its_own_target() {
        let mut good = run("engine_create_first_result", &[0.5, 0.5, 4.0]);
        assert_eq!(verdict(&good), "≤ 0.6, p99 ≤ 5");
        good.take(Err(anyhow::anyhow!("no answer")));
        assert!(verdict(&good).contains("≤ 0.6 missed"), "what failed meets no target");
        assert_eq!(
            verdict(&run("engine_create_first_result", &[0.7, 0.7, 6.0])),
            "**≤ 0.6 missed**, **p99 ≤ 5 missed**"
        );
        assert_eq!(verdict(&run("engine_sustained", &[349.0])), "**≥ 350 missed**");
        assert_eq!(verdict(&run("something", &[1.0])), "");
    }

    #[test]
    fn nothing_measured_meets_nothing() {
        assert_eq!(verdict(&run("engine_cell", &[])), "**≤ 0.2 not measured**");
    }
}
