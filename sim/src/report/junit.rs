//! A campaign's outcome in JUnit's form, which services for continuous integration show.
//!
//! A case for each regression and one for each property over all worlds of the campaign: what is
//! shown as red is the name of what does not hold. There is no standard; what is written here is
//! what the readers in use agree on.

use crate::judge::Property;
use crate::report::{NOT_JUDGED, Report};
use quick_xml::Writer;
use quick_xml::events::{BytesText, Event};
use std::io;

/// One case.
struct Case {
    class: &'static str,
    name: String,
    verdict: Verdict,
}

enum Verdict {
    Held,
    /// In a line, and in full.
    Violated(String, String),
    Undecided(String),
}

/// The report, given the lines of the regressions that were run.
///
/// # Errors
/// None that a report in memory has.
pub fn xml(report: &Report<'_>, regressions: &[String]) -> io::Result<Vec<u8>> {
    let cases = cases(report, regressions);
    let count = |wanted: fn(&Verdict) -> bool| {
        cases.iter().filter(|case| wanted(&case.verdict)).count().to_string()
    };
    let tests = cases.len().to_string();
    let failures = count(|verdict| matches!(verdict, Verdict::Violated(..)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Undecided(_)));
    let time = format!("{:.3}", report.wall.as_secs_f64());
    let worlds = report.outcome.worlds;
    let mut out = Writer::new_with_indent(Vec::new(), b' ', 2);
    out.write_event(Event::Decl(quick_xml::events::BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    out.create_element("testsuites").write_inner_content(|out| {
        out.create_element("testsuite")
            .with_attribute(("name", format!("accord-sim, {worlds} worlds").as_str()))
            .with_attribute(("tests", tests.as_str()))
            .with_attribute(("failures", failures.as_str()))
            .with_attribute(("skipped", skipped.as_str()))
            .with_attribute(("errors", "0"))
            .with_attribute(("time", time.as_str()))
            .write_inner_content(|out| cases.iter().try_for_each(|case| case.write(out)))?;
        Ok(())
    })?;
    let mut xml = out.into_inner();
    xml.push(b'\n');
    Ok(xml)
}

fn cases(report: &Report<'_>, regressions: &[String]) -> Vec<Case> {
    let failure = report.failure;
    let failing = failure.filter(|failure| failure.regression.is_none());
    let mut cases = Vec::new();
    for (number, line) in regressions.iter().enumerate() {
        // Regressions run in order, and the first that fails ends the run.
        let failed = failing.filter(|_| number + 1 == regressions.len());
        let verdict = failed.map_or(Verdict::Held, violated);
        cases.push(Case { class: "accord-sim.regressions", name: line.clone(), verdict });
    }
    for property in Property::ALL {
        let verdict = match (report.verdict(property), failure) {
            ("VIOLATED", Some(failure)) => violated(failure),
            ("undecided", _) => {
                let (seed, why) = &report.outcome.undecided[0];
                Verdict::Undecided(format!("seed {seed}: {why}"))
            }
            (NOT_JUDGED, _) => Verdict::Undecided("no world came to judge it".to_owned()),
            _ => Verdict::Held,
        };
        let name = property.name().to_owned();
        cases.push(Case { class: "accord-sim.properties", name, verdict });
    }
    cases
}

fn violated(failure: &crate::report::Failure) -> Verdict {
    let line = format!("seed {}: {}", failure.seed, failure.original);
    let line = line.lines().next().unwrap_or_default().to_owned();
    Verdict::Violated(line, failure.to_string())
}

impl Case {
    fn write(&self, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let case = out
            .create_element("testcase")
            .with_attribute(("classname", self.class))
            .with_attribute(("name", self.name.as_str()));
        match &self.verdict {
            Verdict::Held => case.write_empty()?,
            Verdict::Violated(line, whole) => case.write_inner_content(|out| {
                out.create_element("failure")
                    .with_attribute(("message", line.as_str()))
                    .write_text_content(BytesText::new(whole))?;
                Ok(())
            })?,
            Verdict::Undecided(why) => case.write_inner_content(|out| {
                out.create_element("skipped")
                    .with_attribute(("message", why.as_str()))
                    .write_empty()?;
                Ok(())
            })?,
        };
        Ok(())
    }
}
