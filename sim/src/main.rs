//! The command line of the simulated world; everything is in [`accord_sim::cli`].

fn main() -> std::process::ExitCode {
    accord_sim::cli::main()
}
