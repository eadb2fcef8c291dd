from __future__ import annotations

import re

from uirdata.html_pages import bars, html_table, lines_chart


def test_a_curve_goes_up_where_its_values_do() -> None:
    text = lines_chart({"loss": [(0.0, 1.0), (50.0, 3.0), (100.0, 2.0)]}, x="step", y="loss")
    # The axes end at 60 and 580 from the left, 20 and 230 from the top; the vertical one of SVG points down.
    assert re.findall(r'points="([^"]*)"', text) == ["60.0,230.0 320.0,20.0 580.0,125.0"]
    assert re.findall(r">([\d.]+)</text>", text) == ["3", "1", "0", "100"]


def test_the_longest_bar_is_of_full_width_and_the_others_in_proportion() -> None:
    text = bars({"haze": 200, "noise": 50, "jpeg": 0})
    assert re.findall(r'width="([\d.]+)"', text) == ["400.0", "100.0", "0.0"]
    assert bars({"haze": 0}).count('width="0.0"') == 1


def test_numbers_of_a_table_have_separators_and_stand_right() -> None:
    text = html_table([{"name": "a<b", "n": 12345, "x": 0.5}])
    assert '<td>a&lt;b</td><td class="n">12,345</td><td class="n">0.50</td>' in text
    assert html_table([]) == "<p>none</p>"
