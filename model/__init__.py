"""The classifier. Its way in for programs is `Classifier`: load it, then score texts.

Importing this is cheap: engines are imported when one is loaded.
"""

from model.classifier import Classifier
from pipeline.scoring.scored import Scored

__all__ = ["Classifier", "Scored"]
