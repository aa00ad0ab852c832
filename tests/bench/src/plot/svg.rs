//! The few SVG elements that the plots use.

use std::fmt::Write;

/// Colours by role, following the page's light or dark mode.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.faint{fill:#59636e}.small{font-size:11px}.title{font-size:15px;font-weight:600}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:#d1d9e0;stroke-width:1}.limit{stroke:#1f2328;stroke-width:1.5}\
.limits{fill:#afb8c1}.met{fill:#2da44e}.missed{fill:#cf222e}\
.c0{stroke:#0969da;fill:#0969da}.c1{stroke:#8250df;fill:#8250df}.c2{stroke:#bf8700;fill:#bf8700}.c3{stroke:#1a7f37;fill:#1a7f37}\
polyline{fill:none!important;stroke-width:2}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#3d444d}.limit{stroke:#f0f6fc}\
.limits{fill:#656c76}.met{fill:#3fb950}.missed{fill:#f85149}.c0{stroke:#4493f8;fill:#4493f8}.c1{stroke:#ab7df8;fill:#ab7df8}\
.c2{stroke:#d29922;fill:#d29922}.c3{stroke:#3fb950;fill:#3fb950}}";

pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escaped(text);
        self.element(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>"
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.element(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        self.element(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" class=\"{class}\"/>"
        ));
    }

    /// A line through points, with a dot at each.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        self.element(&format!(
            "<polyline points=\"{}\" class=\"{class}\"/>",
            path.trim_end()
        ));
        for (x, y) in points {
            self.element(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" class=\"{class}\"/>"
            ));
        }
    }

    pub(super) fn finish(self) -> String {
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\">\n<style>{STYLE}</style>\n{body}</svg>\n"
        )
    }

    fn element(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_drawing() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text(0.0, 0.0, "", "a < b & c");
        assert!(svg.finish().contains("a &lt; b &amp; c"));
    }
}
