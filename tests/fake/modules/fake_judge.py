import math

from unlearnbench.api import Evaluator, Score
from unlearnbench.identity import digest


class Brightness(Evaluator):
    """Says yes to bright images; deterministic, and blind to what an image shows."""

    def fingerprint(self):
        return digest("brightness")

    def setup(self, ctx):
        self.ready = True

    def score(self, samples, question):
        assert self.ready
        scores = []
        for sample in samples:
            values = list(sample.image.convert("L").tobytes())
            p = sum(values) / len(values) / 255 if values else math.nan
            scores.append(Score(p_yes=p, label=p >= self.params.threshold, answer=question.concept))
        return scores
