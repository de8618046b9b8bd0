from unlearnbench.testing import fakes


class Brightness(fakes.Brightness):
    """The shipped fake, which insists on being set up first."""

    def setup(self, ctx):
        self.ready = True

    def score(self, samples, question):
        assert self.ready
        return super().score(samples, question)
