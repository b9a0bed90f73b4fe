from amortized.nesting import leaves


def test_leaves_have_dotted_names_in_their_order_and_values_as_they_are():
    content = {"b": {"d": True, "c": {"e": None}}, "a": [{"f": 1}], 3: (1, 2)}
    assert list(leaves(content)) == [("b.d", True), ("b.c.e", None), ("a", [{"f": 1}]), ("3", (1, 2))]


def test_an_empty_mapping_is_a_value():
    assert list(leaves({"a": {"b": {}}, "c": 0})) == [("a.b", {}), ("c", 0)]
    assert list(leaves({})) == []
