"""Stories are a function of seed and number, and have what the judges look for."""

from nlhf.transformer.data.stories import story


def test_stories_are_reproducible_and_differ():
    assert story(3, 7) == story(3, 7)
    stories = {story(0, index) for index in range(300)}
    assert len(stories) > 290
    assert stories.isdisjoint({story(1, index) for index in range(300)})


def test_a_story_opens_with_a_sentence_and_goes_on():
    for index in range(200):
        opening, rest = story(0, index)
        assert opening.endswith(".")
        assert rest
        assert "{" not in opening + rest
        assert len(opening) + len(rest) < 220
    assert any('"' in story(0, index)[1] for index in range(20))
