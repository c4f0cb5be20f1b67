//! Temporary.
use accord_sim::plan::{FaultMix, Overrides, Plan};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let mut overrides = Overrides::default();
    if let Some(mix) = args.get(3) {
        overrides.faults = FaultMix::parse(mix).unwrap();
    }
    for pair in args.iter().skip(4) {
        let (name, value) = pair.split_once('=').unwrap();
        let name = accord_sim::options::NAMES.into_iter().find(|n| *n == name).unwrap();
        overrides.options.push((name, value.to_owned()));
    }
    let start = std::time::Instant::now();
    let mut total = accord_sim::report::Counts::default();
    let mut bad = 0;
    for seed in from..to {
        let plan = Plan::draw(seed, &overrides);
        let story = std::env::var("STORY").ok().map(|path| {
            let file = std::fs::File::create(path).unwrap();
            Box::new(std::io::BufWriter::new(file)) as accord_sim::trace::Story
        });
        let t = std::time::Instant::now();
        let run = accord_sim::world::run(&plan, story);
        total.add(&run.counts);
        let ms = t.elapsed().as_millis();
        if let Some(v) = &run.violation {
            bad += 1;
            println!(
                "seed {seed}: {}s {:?} {:?} {v}",
                plan.options.servers, plan.options.mode, plan.options.group
            );
        }
        if args.len() > 3 && to - from == 1 {
            println!("{plan}");
        }
        if std::env::var("VERBOSE").is_ok() || ms > 3000 {
            println!(
                "seed {seed} digest {:016x} {ms}ms ok {} fail {} unknown {} events {} {:?}",
                run.digest,
                run.counts.operations_ok,
                run.counts.operations_failed,
                run.counts.operations_unknown,
                run.counts.core_events,
                run.undecided
            );
        }
    }
    let secs = start.elapsed().as_secs_f64();
    println!("{total:#?}");
    println!("bad {bad}, {secs:.2}s, {:.0} core events/s", total.core_events as f64 / secs);
}
