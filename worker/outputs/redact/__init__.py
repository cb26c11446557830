"""The video with what was asked for hidden: scenes, gaps, covers, and the pass that draws them."""
