//! Prometheus' text format. Source: "Exposition formats" in Prometheus' documentation.

use std::fmt::Write;

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// The values of one metric. Its head is written with the first value, so a metric without values is absent.
#[derive(Debug)]
pub(super) struct Family<'p> {
    page: &'p mut String,
    name: String,
    head: Option<String>,
}

impl Page {
    /// Starts a metric that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Starts a metric that only goes up until the agent restarts.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let head = Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family {
            page: &mut self.0,
            name: name.to_owned(),
            head,
        }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a value.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.page.push_str(&self.head.take().unwrap_or_default());
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.page, "{}{labels} {value}", self.name);
    }

    /// Adds a value, if it is known.
    pub(super) fn add_some(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.add(labels, value);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_the_text_format() {
        let mut page = Page::default();
        page.gauge("empty", "Nothing.").add_some(&[], None);
        page.gauge("size", "A size.")
            .add(&[("a", "x\"y\\z\n"), ("b", "2")], 9_007_199_254_740_991.0);
        let mut counter = page.counter("count_total", "A count.");
        counter.add(&[], 1.5);
        counter.add(&[("a", "b")], 0.0);
        let expected = "# HELP size A size.\n# TYPE size gauge\nsize{a=\"x\\\"y\\\\z\\n\",b=\"2\"} 9007199254740991\n\
            # HELP count_total A count.\n# TYPE count_total counter\ncount_total 1.5\ncount_total{a=\"b\"} 0\n";
        assert_eq!(page.text(), expected);
    }
}
